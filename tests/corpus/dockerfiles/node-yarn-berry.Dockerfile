# Yarn with its releases and plugins, and a target that only tests.
# larder: target=ci
FROM node:18 as build
WORKDIR /usr/src
COPY .yarn/releases .yarn/releases
COPY .yarnrc.yml package.json yarn.lock ./
RUN yarn install --immutable
FROM build as ci
COPY . .
RUN yarn lint && yarn test
FROM nginx:1.27 as web
COPY --from=build /usr/src/package.json /usr/share/nginx/html/
