# Notebooks: a stack image, extensions, fixed permissions.
FROM registry.example/jupyter/scipy-notebook:2024-07-01
USER root
RUN apt-get update --yes && apt-get install --yes graphviz
USER ${NB_UID}
COPY --chown=${NB_UID}:${NB_GID} requirements.txt /tmp/
RUN pip install --quiet --no-cache-dir --requirement /tmp/requirements.txt && \
    fix-permissions "${CONDA_DIR}" && \
    fix-permissions "/home/${NB_USER}"
WORKDIR "${HOME}"
