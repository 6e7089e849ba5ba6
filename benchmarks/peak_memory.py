"""Print the peak memory of a trajectory of 150 checkpoints, in GB. `bench` runs this in a separate process."""

from benchmarks.bench import peak_memory


if __name__ == "__main__":
    print(peak_memory())
