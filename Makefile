# make check runs everything that has to be green before a change lands.
GO ?= go
export CGO_ENABLED ?= 1

.PHONY: check test race user fmt vet static cross generated tidy bench fuzz lab

check: fmt vet static race cross generated tidy

test:
	$(GO) test ./...

# The virtual machines have programs of their own, which are not built with the detector.
race:
	$(GO) test -race -timeout 40m $$($(GO) list ./... | grep -v /lab$$)

# The same tests without any privilege.
user:
	./scripts/test-as-user

fmt:
	@out=$$(gofmt -l .); test -z "$$out" || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...

static:
	$(GO) tool staticcheck ./...

cross:
	@for t in linux/amd64 linux/arm64 linux/386 linux/arm linux/riscv64 linux/s390x linux/ppc64le darwin/amd64 windows/amd64 freebsd/amd64; do \
		echo "build $$t"; CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build ./... && CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) vet ./... || exit 1; done

generated:
	@$(GO) generate ./... && git diff --exit-code -- '*.go' docs || { echo "generated files were not fresh"; exit 1; }

tidy:
	$(GO) mod tidy -diff

bench:
	$(GO) test -run '^$$' -bench . -count 6 . | $(GO) tool benchstat -

# Each fuzz target for a number of inputs: ended by the clock, go test can fail with "context deadline exceeded".
fuzz:
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "fuzz $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime 20000x $$p || exit 1; done; done

# The tests on other kernels, with security modules that enforce, in QEMU without KVM.
lab:
	./lab/fetch
	EPERM_TEST_MUST=lab $(GO) test -count 1 ./lab
