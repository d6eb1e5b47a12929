"""Measures how fast this machine makes single layers, and from them and a few whole steps a device's constants."""
