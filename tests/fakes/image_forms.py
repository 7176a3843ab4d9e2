"""Files of data sets in the forms that people have: folders, tables, archives of images of 8 x 8 pixels."""

import io
import tarfile

import datasets

from gcp_repro.data.tiny.writers import jpeg_bytes


def put(path, label=0, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg_bytes(label, number, (8, 8)))


def write_images(root, *folders, classes=("a", "b"), each=2):
    """`<folder>/<class>/<number>.jpg`."""
    for number, folder in enumerate(folders):
        for label, name in enumerate(classes):
            for image in range(each):
                put(root / folder / name / f"{number}_{image}.jpg", label, 10 * number + image)
    return root


def write_table(path, rows, features=None):
    """A parquet file as the hub has it."""
    file = io.BytesIO()  # the library takes names for patterns
    datasets.Dataset.from_list(rows, features=features).to_parquet(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())


def image_row(label, column="label", number=0):
    return {"image": {"bytes": jpeg_bytes(0, number, (8, 8)), "path": f"{number}.jpg"}, column: label}


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
