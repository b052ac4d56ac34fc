"""The images, built, and the manifests, run from them in containers of this machine."""
