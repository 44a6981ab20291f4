//! What is kept in the folder, and for how long it is good.
