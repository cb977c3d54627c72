# An inbound agent with tools from several places.
FROM registry.example/jenkins/inbound-agent:3261.v9c670a_4748a_9-1-jdk17
USER root
ARG DOCKER_CLI_VERSION=27.1.1
ADD https://download.example/linux/static/stable/x86_64/docker-${DOCKER_CLI_VERSION}.tgz /tmp/docker.tgz
RUN tar -xzf /tmp/docker.tgz -C /usr/local/bin --strip-components=1 docker/docker && rm /tmp/docker.tgz
RUN apt-get update -qq && apt-get install -qqy python3-venv python3-pip jq && rm -rf /var/lib/apt/lists/*
COPY --chown=jenkins:jenkins pip.conf /home/jenkins/.config/pip/pip.conf
USER jenkins
