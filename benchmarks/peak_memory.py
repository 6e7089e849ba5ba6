"""Prints the peak memory of a trajectory of 150 checkpoints, in GB. `bench` runs it as a process of its own."""

from benchmarks.bench import peak_memory


if __name__ == "__main__":
    print(peak_memory())
