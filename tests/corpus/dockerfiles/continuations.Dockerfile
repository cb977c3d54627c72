# Lines that go on: comments and blanks between, blanks behind, at the end of the file.
FROM alpine:3.20
RUN echo one \
# a comment at the margin
    # an indented one

    && echo two \  
	&& echo three
ENV A=1 \
    # between the pairs
    B=2 \

    C=3
RUN echo ends in two \\
RUN \
  echo starts on the next line
RUN echo "a \
  string" 'and \
another'
LABEL last=one \
