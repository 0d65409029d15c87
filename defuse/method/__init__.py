"""The paper's steps, a module each: identification, distillation, annotation, correction, novelty."""
