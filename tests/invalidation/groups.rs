//! Sentinel and Cluster: masters that change.
