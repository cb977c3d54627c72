# Conda with an environment file, and a SHELL that enters the environment.
FROM registry.example/conda/miniforge3:24.3.0-0
COPY environment.yml /tmp/environment.yml
RUN --mount=type=cache,target=/opt/conda/pkgs conda env create -f /tmp/environment.yml
SHELL ["conda", "run", "--no-capture-output", "-n", "science", "/bin/bash", "-c"]
RUN python -c "import numpy, scipy; print(numpy.__version__)"
COPY notebooks /notebooks
EXPOSE 8888/tcp
ENTRYPOINT ["conda", "run", "-n", "science", "jupyter", "lab", "--ip=0.0.0.0"]
