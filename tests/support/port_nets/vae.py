"""A convolutional VAE: the encoder's moments, and the decoder with Unflatten."""

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, channels=3, latent_dim=6, hidden_dims=(8, 16)):
        super().__init__()
        modules = []
        for h_dim in hidden_dims:
            modules.append(
                nn.Sequential(
                    nn.Conv2d(channels, h_dim, kernel_size=3, stride=2, padding=1),
                    nn.BatchNorm2d(h_dim),
                    nn.LeakyReLU(),
                )
            )
            channels = h_dim
        self.encoder = nn.Sequential(*modules)
        self.fc_mu = nn.Linear(hidden_dims[-1] * 12, latent_dim)
        self.fc_var = nn.Linear(hidden_dims[-1] * 12, latent_dim)

    def forward(self, input):
        result = self.encoder(input)
        result = torch.flatten(result, start_dim=1)
        mu = self.fc_mu(result)
        log_var = self.fc_var(result)
        return [mu, log_var]


class Decoder(nn.Module):
    def __init__(self, channels=3, latent_dim=6, hidden_dims=(16, 8)):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(latent_dim, hidden_dims[0] * 3 * 4),
            nn.Unflatten(1, (hidden_dims[0], 3, 4)),
            nn.ConvTranspose2d(
                hidden_dims[0], hidden_dims[1], 3, stride=2, padding=1, output_padding=1
            ),
            nn.BatchNorm2d(hidden_dims[1]),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(hidden_dims[1], channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z)


class ViewDecoder(nn.Module):
    """The decoder as it is written with ``view``."""

    def __init__(self, channels=3, latent_dim=6, hidden_dims=(16, 8)):
        super().__init__()
        self.hidden_dims = hidden_dims
        self.decoder_input = nn.Linear(latent_dim, hidden_dims[0] * 3 * 4)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(hidden_dims[0], hidden_dims[1], 3, 2, 1, output_padding=1),
            nn.BatchNorm2d(hidden_dims[1]),
            nn.LeakyReLU(),
        )
        self.final_layer = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(hidden_dims[1], channels, kernel_size=3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z):
        result = self.decoder_input(z)
        result = result.view(-1, self.hidden_dims[0], 3, 4)
        result = self.decoder(result)
        result = self.final_layer(result)
        return result
