# An ssh agent with a health check and a volume in both forms.
FROM debian:bookworm-slim
ARG user=jenkins
ARG group=jenkins
ARG uid=1000
ARG gid=1000
ARG JENKINS_AGENT_HOME=/home/${user}
ENV JENKINS_AGENT_HOME ${JENKINS_AGENT_HOME}
RUN groupadd -g ${gid} ${group} && useradd -d "${JENKINS_AGENT_HOME}" -u "${uid}" -g "${gid}" -m -s /bin/bash "${user}"
VOLUME "${JENKINS_AGENT_HOME}" "/tmp" "/run" "/var/run"
VOLUME ["/home/jenkins/.jenkins", "/workspace"]
WORKDIR "${JENKINS_AGENT_HOME}"
COPY setup-sshd /usr/local/bin/setup-sshd
EXPOSE 22
HEALTHCHECK NONE
ENTRYPOINT ["setup-sshd"]
LABEL org.opencontainers.image.title="agent" \
      org.opencontainers.image.vendor='CI team' \
      "com.example.with space"="yes it has" maintainer=ci@example.org
