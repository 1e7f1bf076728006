#!/usr/bin/env python3
"""Re-creates the data sets under data/ from the scikit-learn wheel.

The wheel carries each set in a layout of its own (a count row instead of a header, features and target in two files, ...).
This script gives all of them one: a header, one row a sample, the target last, classes by name; the numbers stay the text they
are in the wheel. Files are gzip without name and time, so that a second run writes the same bytes with the same zlib.

Usage: scripts/fetch-datasets.py [WHEEL]     (without WHEEL, pip downloads the version below)
"""

import csv
import gzip
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile

VERSION = "1.9.1"
OUT = pathlib.Path(__file__).resolve().parent.parent / "data"
ROOT = "sklearn/datasets/data/"

IRIS = ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"]
WINE = ["alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
        "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280_od315_of_diluted_wines", "proline"]
CELL = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points", "symmetry",
        "fractal_dimension"]
CANCER = [f"{kind}_{name}" for kind in ("mean", "error", "worst") for name in CELL]
DIABETES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
DIGITS = [f"pixel_{row}_{col}" for row in range(8) for col in range(8)]


def counted(wheel, file):
    """A csv whose first row is `rows,columns,class names...` and whose last column is a class index."""
    head, *rows = csv.reader(io.StringIO(wheel.read(ROOT + file).decode()))
    assert len(rows) == int(head[0]) and all(len(row) == int(head[1]) + 1 for row in rows), file
    return [row[:-1] + [head[2:][int(row[-1])]] for row in rows]


def digits(wheel):
    text = gzip.decompress(wheel.read(ROOT + "digits.csv.gz")).decode()
    return list(csv.reader(io.StringIO(text)))


def diabetes(wheel):
    data = gzip.decompress(wheel.read(ROOT + "diabetes_data_raw.csv.gz")).decode().splitlines()
    target = gzip.decompress(wheel.read(ROOT + "diabetes_target.csv.gz")).decode().splitlines()
    assert len(data) == len(target)
    return [row.split() + [f"{float(y):g}"] for row, y in zip(data, target)]


def write(name, header, rows, shape):
    assert (len(rows), len(header) - 1) == shape and all(len(row) == len(header) for row in rows), name
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with open(OUT / f"{name}.csv.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.getvalue().encode())
    print(f"{name}: {shape[0]} rows, {shape[1]} features")


def main():
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            path = sys.argv[1]
        else:
            pip = [sys.executable, "-m", "pip", "download", f"scikit-learn=={VERSION}", "--no-deps", "-q", "-d", folder]
            subprocess.run(pip, check=True)
            path = next(pathlib.Path(folder).glob("*.whl"))
        with zipfile.ZipFile(path) as wheel:
            write("digits", DIGITS + ["digit"], digits(wheel), (1797, 64))
            write("iris", IRIS + ["species"], counted(wheel, "iris.csv"), (150, 4))
            write("wine", WINE + ["cultivar"], counted(wheel, "wine_data.csv"), (178, 13))
            write("breast_cancer", CANCER + ["diagnosis"], counted(wheel, "breast_cancer.csv"), (569, 30))
            write("diabetes", DIABETES + ["progression"], diabetes(wheel), (442, 10))


if __name__ == "__main__":
    main()
