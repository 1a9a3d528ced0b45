#!/bin/sh
# What sluice build does, with TinyGo, wasm-tools and wasm-opt alone. The README says what the flags are for.
set -eu
cd "$(dirname "$0")"
tinygo build -target=wasip2 -wit-package=./wit -wit-world=guest \
	-tags=module.std -opt=2 -no-debug -scheduler=none -gc=leaking -o order-check.wasm .
