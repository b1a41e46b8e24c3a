"""The bands of Sentinel-2 in the order of its files, and their ranges in fMoW-Sentinel."""

NAMES = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
# Mean and deviation of each band, of util/datasets.py of sustainlab-group/SatMAE.
MEANS = (1370.19151926, 1184.3824625, 1120.77120066, 1136.26026392, 1263.73947144, 1645.40315151)
MEANS += (1846.87040806, 1762.59530783, 1972.62420416, 582.72633433, 14.77112979, 1732.16362238)
MEANS += (1247.91870117,)
DEVIATIONS = (633.15169573, 650.2842772, 712.12507725, 965.23119807, 948.9819932, 1108.06650639)
DEVIATIONS += (1258.36394548, 1233.1492281, 1364.38688993, 472.37967789, 14.3114637, 1310.36996126)
DEVIATIONS += (1087.6020813,)
# From two deviations below the mean to two above, as SatMAE scales bands to 256 levels.
RANGES = tuple((m - 2 * d, m + 2 * d) for m, d in zip(MEANS, DEVIATIONS, strict=True))
