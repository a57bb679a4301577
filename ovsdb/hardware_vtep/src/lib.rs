//! Typed rows of the OVSDB `hardware_vtep` schema.
