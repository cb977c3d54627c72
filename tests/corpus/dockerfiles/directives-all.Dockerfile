#Syntax=docker/dockerfile:1.7-labs
#   ESCAPE =   \
# check=skip=JSONArgsRecommended;error=true
# All directives; this line ends them.
# escape=`
FROM alpine:3.20
RUN echo \
  joined
