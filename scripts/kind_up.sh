#!/usr/bin/env bash
# Parlante on a kind cluster on this machine: build the images, load them, apply overlays/dev.
# NOT RUN by this repository's checks: it needs docker, kind and kubectl, which they do not have.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=${1:-parlante}
version=0.1.0

kind get clusters | grep -qx "$cluster" || kind create cluster --name "$cluster"
for stage in gateway encoder motion renderer; do
  docker build -f deploy/docker/Dockerfile --target "$stage" -t "parlante-$stage:$version" .
  kind load docker-image --name "$cluster" "parlante-$stage:$version"
done
kubectl apply -k deploy/kubernetes/overlays/dev
for stage in encoder motion renderer gateway; do
  kubectl -n parlante rollout status "deployment/parlante-$stage" --timeout=10m
done
echo "kubectl -n parlante port-forward deployment/parlante-gateway 50050:50050"
echo "parlante avatars list --server localhost:50050"
