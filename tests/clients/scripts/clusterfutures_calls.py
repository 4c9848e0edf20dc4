"""clusterfutures: calls as jobs of their own, through its executor."""

from __future__ import annotations

import cfut


def square(number: int) -> int:
    return number * number


def main() -> None:
    with cfut.SlurmExecutor(additional_setup_lines=["#SBATCH --mem=100"]) as executor:
        futures = [executor.submit(square, number) for number in range(4)]
        assert [future.result(60) for future in futures] == [0, 1, 4, 9]
    print("CLIENT-OK")


if __name__ == "__main__":
    main()
