# .NET: project files first, JSON COPY, publish by architecture.
FROM --platform=$BUILDPLATFORM mcr.example/dotnet/sdk:8.0 AS build
ARG TARGETARCH
WORKDIR /source
COPY ["Shop.Web/Shop.Web.csproj", "Shop.Web/"]
COPY ["Shop.Core/Shop.Core.csproj", "Shop.Core/"]
RUN --mount=type=cache,id=nuget,target=/root/.nuget/packages dotnet restore Shop.Web -a ${TARGETARCH/amd64/x64}
COPY . .
RUN --mount=type=cache,id=nuget,target=/root/.nuget/packages dotnet publish Shop.Web -a ${TARGETARCH/amd64/x64} --no-restore -o /app
FROM mcr.example/dotnet/aspnet:8.0
EXPOSE 8080
WORKDIR /app
COPY --from=build /app .
USER $APP_UID
ENTRYPOINT ["./Shop.Web"]
