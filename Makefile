.PHONY: build test demo torture clean

build:
	cargo build --release

test:
	cargo test --workspace

demo:
	cargo run --release -- demo

torture:
	BEAVER_TORTURE=100 cargo test --workspace --release

clean:
	cargo clean
