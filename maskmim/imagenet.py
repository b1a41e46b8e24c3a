"""Constants of ImageNet-1k."""

from __future__ import annotations

# Mean and standard deviation of each channel, of pixels in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TRAIN_IMAGES = 1_281_167
