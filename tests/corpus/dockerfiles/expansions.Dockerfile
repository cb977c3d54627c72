# Every form of substitution, in the places that expand.
# larder: arg:VERSION=v1.22.3-rc.1
ARG VERSION=v2.0.0
ARG PLAIN=${VERSION#v}
ARG MAJOR=${PLAIN%%.*}
ARG REST=${PLAIN#*.} LAST=${VERSION##*.} SHORT=${VERSION%.*}
ARG DASHED=${VERSION//./-} ONCE=${VERSION/./_} EMPTY=
FROM tool:${PLAIN}${SUFFIX:+-$SUFFIX} AS first
ARG PLAIN DASHED ONCE LAST SHORT MAJOR REST EMPTY
ARG A=${EMPTY:-colon}-${EMPTY-nocolon}-${EMPTY:+x}-${EMPTY+set}
ENV B="${A} ${MAJOR:?must be set}" C='$A' D=\$A E=$A$MAJOR F=${UNSET:-${ALSO:-$MAJOR}}
ENV OLD form with $A in it
WORKDIR /w/${DASHED}
COPY conf-${MAJOR}.d/${ONCE} "quoted"/'name' $SHORT/ ./
COPY ["${LAST}/a b", "$REST", "/json/${PLAIN}/"]
RUN --mount=type=cache,id=c-${DASHED},target=/c/${LAST} echo ${not:expanded:here} ${VERSION^^}
USER ${MAJOR}:${MAJOR}
LABEL v="${VERSION}" w=${PLAIN}
