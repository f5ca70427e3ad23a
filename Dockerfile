# clipkit's server. Build:  docker build -t clipkit .
#
#   --build-arg DEVICE=cuda        for NVIDIA's cards: docker run --gpus all
#   --build-arg TORCH_INDEX=URL    where pip finds torch's wheels. pip's default has those with CUDA, of several
#                                  gigabytes; the index of torch's CPU wheels makes a small image
#   --build-arg EXTRAS=server,web  the extras to install
#
# Run it with keys, since the container listens on all its addresses:
#
#   docker run -p 127.0.0.1:8000:8000 -e CLIPKIT_API_KEYS=... -v clipkit:/data clipkit

FROM python:3.11-slim

ARG DEVICE=cpu
ARG TORCH_INDEX=
ARG EXTRAS=server,web

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    CLIPKIT_HOME=/data/collections \
    HF_HOME=/data/models \
    CLIPKIT_DEVICE=${DEVICE}

RUN groupadd --gid 1000 clipkit \
    && useradd --uid 1000 --gid clipkit --create-home clipkit \
    && install -d -o clipkit -g clipkit /data

WORKDIR /app

# First what is large and seldom changes.
COPY constraints.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then export PIP_INDEX_URL="$TORCH_INDEX"; fi \
    && pip install --constraint constraints.txt torch torchvision

COPY pyproject.toml README.md LICENSE ./
COPY clipkit clipkit
COPY apps apps
RUN pip install --constraint constraints.txt ".[${EXTRAS}]"

USER clipkit
VOLUME /data
EXPOSE 8000

# It really embeds a text. A model that is downloaded first may take a while.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=12)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["sh", "-c", "exec clipkit \"$@\" --device \"$CLIPKIT_DEVICE\"", "clipkit"]
CMD ["serve", "--host", "0.0.0.0"]
