//! Faults and warnings that concern more than one value.
