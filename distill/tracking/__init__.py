"""Copies of a run's numbers for people who watch them elsewhere: TensorBoard, MLflow, Weights & Biases. Off unless a study names one."""
