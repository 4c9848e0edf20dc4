"""What helps to test: programs that submit jobs, and schedulers that run them."""
