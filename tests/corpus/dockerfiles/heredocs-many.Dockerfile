# syntax=docker/dockerfile:1
# Several here-documents in one instruction, numbered, quoted, stripped.
FROM alpine:3.20
RUN cat <<A >/a && cat <<'B b' >/b; cat <<-C 3<<D /dev/fd/3
in a ${A}
A
in b
B b
	tabs go
	C
in d
D
RUN <<EOF cat - > /etc/x-${VERSION:0:3}.conf
EOF is not the end
 EOF
EOF
COPY <<one.txt <<"two.txt" plain.txt /dest/
$expanded
one.txt
$not
two.txt
ADD <<-STRIP /strip
	tabs
		more tabs
	STRIP
RUN echo "<<NOT" '<<NOT' \<<NOT $((1<<4)) <<<string
ONBUILD RUN <<LATER
held back
LATER
COPY <<EMPTY /empty
EMPTY
RUN ["echo", "<<JSON"]
