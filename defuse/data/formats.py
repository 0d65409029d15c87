"""What prepared images are: their side, and the number of classes of each data set."""

SIDE = 32
CLASSES = {"digits": 10, "mnist": 10, "svhn": 10, "gtsrb": 43}
