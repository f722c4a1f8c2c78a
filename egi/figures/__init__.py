"""Every figure of the paper, one function each, from the files that `egi.metrics`, training and sampling wrote.

=================  ===========================================================================
paper              function
=================  ===========================================================================
3A, table 3        `conformers.covmat`
3B                 `structures.conformer_examples`
4A, 4B, 7, 8, 10   `distributions.distributions`
4C, 4D             `dynamics.occupancies`
4E-G, 9            `dynamics.autocorrelations`
5A                 `surfaces.surfaces`
5B, 11, 12         `paths.interpolations`
5C                 `paths.key_frames`
5D, 6 (A.2)        `paths.path_statistics`
6 (main text)      `distributions.jsd_bars`
13-16              `training.alpha_logits`
loss curves        `training.training_curves`
energies           `energies.energies`
timescales         `kinetics.kinetics`
=================  ===========================================================================

Figures 1 and 2 are drawings. Functions return a matplotlib `Figure` and use no global state; draw and save them
inside `style.look()`.
"""
