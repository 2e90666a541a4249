# Two commands are all that a newcomer needs: `make demo` and `make test`.
# The rest names plain Go commands.

export CGO_ENABLED := 0

.PHONY: build demo test setup vet bench fuzz clean

build: ## bin/valetkey, without symbols and paths
	go build -trimpath -ldflags='-s -w' -o bin/valetkey ./cmd/valetkey

demo: build ## tell the whole story on a temporary server, checking every step
	./bin/valetkey demo --auto

test: setup vet ## everything, with the real databases, browser and peers
	go test -timeout 20m ./...

setup: ## install what the tests need: PostgreSQL, Chromium, npm packages
	./test/setup.sh

vet:
	go vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted:'; gofmt -l $$(git ls-files '*.go'); exit 1; }

bench: ## print ratios to the ceilings; see bench/README.md
	go run ./bench

fuzz: ## each fuzz target for a short while
	./test/fuzz.sh 15s

clean:
	rm -rf bin dist
