# Local packages installed editable, from a folder of the context.
FROM python:3.11
WORKDIR /src
COPY libs/ libs/
COPY setup.py setup.cfg MANIFEST.in ./
RUN for lib in libs/*; do pip install -e "$lib"; done && pip install -e .[test]
COPY tests tests
RUN ["pytest", "-x", "tests"]
