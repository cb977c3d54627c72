# Quotes in LABEL and ENV: double, single, escaped blanks, old form, continued.
FROM alpine:3.20
LABEL plain=value "quoted key"="quoted value" single='single value' esc=a\ b
LABEL multi="line one \
line two" json='{"a": "b"}'
LABEL old form of a label
ENV PATH=$PATH:/opt/bin EMPTY= QUOTED="" SINGLE='' EQUALS=a=b=c
ENV SPACES a   b    c
ENV ESCAPED=\"inner\" DOLLAR='$HOME' BACK="\\" NESTED="it's" OTHER='say "hi"'
ARG ONE TWO=2 THREE="three words" FOUR='$ONE'
