//! Details of a digest.
