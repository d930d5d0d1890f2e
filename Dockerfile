# The one image: daemon, test and clean-up. Nothing but Debian's packages and the hashes of deploy/requirements.txt; amd64 and arm64.
#   docker buildx build --platform linux/amd64,linux/arm64 -t plumbline:0.1.0 .
# Behind a mirror: --build-arg BASE=mirror.example/debian:12-slim
ARG BASE=debian:12-slim

# What is compiled: the eBPF programs, the same bytes for every machine, and the CNI plugin.
FROM ${BASE} AS compiled
RUN apt-get update -q && apt-get install -y -q --no-install-recommends make clang llvm libbpf-dev gcc libc6-dev
WORKDIR /src
COPY Makefile ./
COPY .ci .ci
COPY bpf bpf
COPY cni cni
RUN make bpf OBJECTS=/compiled/bpf && make cni PLUGIN=/compiled/cni/plumbline

# The wheel, and a virtual environment with it and what it needs, all of it by hash. Half of the Kubernetes client is its twin for asyncio,
# of which nothing is used.
FROM ${BASE} AS wheel
RUN apt-get update -q && apt-get install -y -q --no-install-recommends python3 python3-venv ca-certificates
WORKDIR /src
COPY requirements.txt pyproject.toml README.md LICENSE ./
COPY deploy/requirements.txt deploy/
RUN python3 -m venv /build && python3 -m venv /opt/plumbline \
 && awk '/^setuptools==/,0' requirements.txt > build.txt \
 && /build/bin/pip install --quiet --no-cache-dir --require-hashes -r build.txt \
 && /opt/plumbline/bin/pip install --quiet --no-cache-dir --require-hashes --no-deps -r deploy/requirements.txt
COPY reconciler reconciler
COPY --from=compiled /compiled/ reconciler/
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/plumbline/bin/pip install --quiet --no-deps --no-index /wheels/*.whl \
 && /opt/plumbline/bin/pip uninstall --quiet --yes setuptools pip \
 && rm -rf /opt/plumbline/lib/python3*/site-packages/kubernetes/aio

FROM ${BASE}
LABEL org.opencontainers.image.title="plumbline" \
      org.opencontainers.image.description="Keeps the network of Kubernetes nodes true to one network.yaml" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3 iproute2 bpftool nftables procps iputils-ping tcpdump wireguard-tools \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
COPY --from=wheel /opt/plumbline /opt/plumbline
ENV PATH=/opt/plumbline/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
RUN plumbline --version && python -c "from kubernetes import config; from kubernetes.client.rest import RESTClientObject" \
 && for tool in ip bridge tc nft sysctl ping bpftool tcpdump wg nsenter; do command -v "$tool" || exit 1; done
ENTRYPOINT ["plumbline"]
