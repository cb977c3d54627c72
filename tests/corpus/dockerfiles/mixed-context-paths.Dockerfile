# Sources as people write them: dots, slashes, patterns, brackets, upwards.
FROM alpine:3.20
WORKDIR app
COPY . .
WORKDIR ./nested
COPY ./a /b/../c ../d/ e/* f?.txt g[0-9].py ./
WORKDIR /abs
COPY h\ i "j" 'k'l m/** ./
ADD ["n o", "dest dir/"]
COPY .hidden/ .hidden
