.PHONY: build test demo clean

build:
	cargo build --release

test:
	cargo test --workspace

demo:
	cargo run --release -- demo

clean:
	cargo clean
