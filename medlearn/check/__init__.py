"""Checks for the exercises of the course: each takes your function and prints what it found.

A check runs your function on small inputs whose answer it knows, and on the same inputs computes what the usual
mistakes would give. So it can tell you which one you made.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "chapter00": ["dice_by_hand", "gland_volume", "held_out_slices"],
        "chapter01": ["average_precision_by_hand", "balanced_accuracy", "box_overlap", "largest_box"],
        "chapter02a": [
            "arriving_photons",
            "photons_for_noise",
            "smear_view",
            "stored_to_hounsfield",
            "thickness_mm",
        ],
        "chapter02b": ["depth_and_velocity", "echo_amplitude", "echo_signal", "middle_rows"],
        "chapter02c": ["camera_width", "corrected_pairs", "mlem_round", "t_of_answer"],
        "chapter03": ["read_raw", "slice_spacing", "stack_order", "voxel_to_world"],
        "chapter04": ["gland_share", "is_right_file", "may_share", "patient_folds"],
        "chapter05": ["grow", "honest_tolerance", "otsu"],
        "chapter06": ["blend_tiles", "clip_histogram", "gray_mapping"],
        "chapter07": ["choose_iterations", "curvature_step", "largest_time_step"],
        "chapter08a": ["gradient_step", "hidden_gradient", "standardize"],
        "chapter08b": ["conv2d", "output_size", "receptive_field", "transposed_convolution"],
        "chapter08c": ["batch_norm", "dropout", "group_norm", "residual_block"],
        "chapter09": ["count_parameters", "decoder_step", "valid_output"],
        "chapter10a": ["accuracy_precision_sensitivity", "dice_of_stack", "hausdorff95_by_hand"],
        "chapter10b": ["cross_entropy_and_gradient", "soft_dice_loss", "tversky_by_hand"],
        "chapter11": ["build_sets", "elastic_field", "keeps_label", "warp_pair"],
        "chapter12a": ["adamw_step", "choose_checkpoint", "count_draws", "diagnose", "patient_split"],
        "chapter12b": ["budget", "dice_per_slice", "squeezed_length", "t_interval", "training_cost"],
        "chapter13": ["compare", "confidence_interval", "score_case"],
        "chapter14a": ["blend_windows", "conv_cost", "squared_dice", "target_spacing"],
        "chapter14b": ["mean_iou", "relative_depth", "seen_offsets", "suppress"],
    },
)
