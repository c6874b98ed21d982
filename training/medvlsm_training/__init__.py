"""Training and evaluation of vision-language segmentation models, without a window.

`config`     what a recipe may say
`tokenizer`  the CLIP tokenizer cut to the words in use
`sources`    data sets on disk to items
`data`       items to batches: augmentation and prompts
`init`       initialisation for training from scratch on little data
`module`     loss and optimiser
`train`      the run itself
`evaluate`   Dice by target, and the model card
"""
