//! End-to-end tests in network namespaces: their fixtures and benches.
