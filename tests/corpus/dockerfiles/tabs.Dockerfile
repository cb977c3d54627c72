# Tabs wherever blanks can be.
FROM	alpine:3.20	AS	tabbed
	RUN	--mount=type=cache,target=/c	echo	x
COPY	a		b	/dest/
ENV	A	old form	with tabs
ENV	B=1	C=2
	# a comment behind a tab
FROM	tabbed
