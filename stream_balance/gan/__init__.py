"""The GAN: learns the minority rows of the window, vets what it made, hands rows back. Runs in a child process.

The only place that imports torch, and only in the modules that compute with it: this package can be imported without.
"""
