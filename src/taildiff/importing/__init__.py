"""Models from elsewhere: exports of ours, folders of diffusers, and files of parameters."""
