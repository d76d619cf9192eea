"""What extractor and loader share: the wire contract, the kernel and the runtime."""
