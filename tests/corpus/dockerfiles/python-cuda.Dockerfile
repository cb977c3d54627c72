# CUDA: architecture and version in the base's name, torch from an index of its own.
ARG CUDA=12.4.1
ARG UBUNTU=22.04
FROM registry.example/nvidia/cuda:${CUDA}-cudnn-devel-ubuntu${UBUNTU} AS devel
ARG CUDA
ARG TORCH=2.4.0
ENV DEBIAN_FRONTEND=noninteractive NVIDIA_VISIBLE_DEVICES=all
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean && \
    apt-get update && apt-get install -y python3-pip python3-dev
RUN --mount=type=cache,id=pip-cu${CUDA//./},target=/root/.cache/pip \
    pip install "torch==${TORCH}" --index-url https://download.example/whl/cu${CUDA%.*}
COPY kernels/ /src/kernels/
RUN cd /src/kernels && python3 setup.py bdist_wheel -d /dist

FROM registry.example/nvidia/cuda:${CUDA}-runtime-ubuntu${UBUNTU}
COPY --from=devel /dist/*.whl /tmp/
RUN pip install /tmp/*.whl
COPY serve.py /
CMD ["python3", "/serve.py"]
