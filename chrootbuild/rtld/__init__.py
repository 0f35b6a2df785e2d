"""Run-time linkers: facts -> the closure of libraries, searched as glibc, musl and FreeBSD do."""
