# ROCm: a base by digest, and groups for the devices.
FROM registry.example/rocm/pytorch@sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
ARG GFX="gfx90a;gfx942"
ENV PYTORCH_ROCM_ARCH=${GFX} HIP_PLATFORM=amd
RUN groupadd -g 109 render; usermod -aG render,video root
WORKDIR /workspace
COPY requirements-rocm.txt .
RUN python3 -m pip install -r requirements-rocm.txt
COPY csrc csrc
RUN MAX_JOBS=$(nproc) python3 setup.py develop
