# Airflow-like: an image with providers, extended as root and back.
ARG AIRFLOW_VERSION=2.9.3
ARG PYTHON_TAG=python3.11
FROM registry.example/apache/airflow:${AIRFLOW_VERSION}-${PYTHON_TAG}
USER root
RUN apt-get update \
  && apt-get install -y --no-install-recommends openjdk-17-jre-headless \
  && apt-get autoremove -yqq --purge \
  && apt-get clean && rm -rf /var/lib/apt/lists/*
USER airflow
ARG AIRFLOW_VERSION
ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64
COPY --chown=airflow:root requirements.txt /
RUN pip install --no-cache-dir "apache-airflow==${AIRFLOW_VERSION}" -r /requirements.txt
COPY --chown=airflow:root dags/ /opt/airflow/dags
COPY plugins/ ${AIRFLOW_HOME}/plugins/
