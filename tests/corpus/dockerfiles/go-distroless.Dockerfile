# Go: modules first, static binary, distroless by number.
FROM golang:1.22 AS build
WORKDIR /go/src/app
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /go/bin/app ./cmd/app
FROM registry.example/distroless/static-debian12:nonroot
COPY --from=0 /go/bin/app /
CMD ["/app"]
