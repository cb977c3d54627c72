# Micromamba: an ARG that its tools read, and a user of another name.
FROM registry.example/mamba/micromamba:1.5
COPY --chown=$MAMBA_USER:$MAMBA_USER env.yaml /tmp/env.yaml
RUN micromamba install -y -n base -f /tmp/env.yaml && \
    micromamba clean --all --yes
ARG MAMBA_DOCKERFILE_ACTIVATE=1
COPY --chown=$MAMBA_USER:$MAMBA_USER $APP_DIR/run.py /app/
RUN python -c 'import uuid; print(uuid.uuid4())' > /tmp/id
