"""The diffusion process around the networks: schedule, alignment, losses and samplers.

`schedule` knows the noise levels, `kabsch` and `frames` handle rigid motion, `loss` trains and
`samplers` generates. Each meets the network only through its call
``model(batch, positions, step, condition)``.
"""
