"""CRNN of text recognition: convolutions, then bidirectional LSTMs over the columns."""

import torch.nn as nn


class BidirectionalLSTM(nn.Module):
    def __init__(self, nIn, nHidden, nOut):
        super().__init__()
        self.rnn = nn.LSTM(nIn, nHidden, bidirectional=True)
        self.embedding = nn.Linear(nHidden * 2, nOut)

    def forward(self, input):
        recurrent, _ = self.rnn(input)
        T, b, h = recurrent.size()
        t_rec = recurrent.view(T * b, h)
        output = self.embedding(t_rec)
        output = output.view(T, b, -1)
        return output


class ConvStack(nn.Module):
    """The part without recurrence: (N, C, 16, W) -> (W', N, C')."""

    def __init__(self, nc=1, leakyRelu=False):
        super().__init__()
        ks, ps, ss, nm = [3, 3, 3, 2], [1, 1, 1, 0], [1, 1, 1, 1], [4, 8, 12, 16]
        cnn = nn.Sequential()

        def convRelu(i, batchNormalization=False):
            nIn = nc if i == 0 else nm[i - 1]
            nOut = nm[i]
            cnn.add_module(f"conv{i}", nn.Conv2d(nIn, nOut, ks[i], ss[i], ps[i]))
            if batchNormalization:
                cnn.add_module(f"batchnorm{i}", nn.BatchNorm2d(nOut))
            if leakyRelu:
                cnn.add_module(f"relu{i}", nn.LeakyReLU(0.2, inplace=True))
            else:
                cnn.add_module(f"relu{i}", nn.ReLU(True))

        convRelu(0)
        cnn.add_module("pooling0", nn.MaxPool2d(2, 2))
        convRelu(1)
        cnn.add_module("pooling1", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
        convRelu(2, True)
        cnn.add_module("pooling2", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
        convRelu(3, True)
        self.cnn = cnn

    def forward(self, input):
        conv = self.cnn(input)
        _, _, h, _ = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2)
        conv = conv.permute(2, 0, 1)  # [w, b, c]
        return conv


class CRNN(nn.Module):
    def __init__(self, nclass=11, nh=8):
        super().__init__()
        self.cnn = ConvStack()
        self.rnn = nn.Sequential(BidirectionalLSTM(16, nh, nh), BidirectionalLSTM(nh, nh, nclass))

    def forward(self, input):
        conv = self.cnn(input)
        output = self.rnn(conv)
        return output


class ConvClassifier(nn.Module):
    """The head of a CRNN without its LSTMs: a linear layer at each column."""

    def __init__(self, nclass=11):
        super().__init__()
        self.cnn = ConvStack(leakyRelu=True)
        self.embedding = nn.Linear(16, nclass)

    def forward(self, input):
        conv = self.cnn(input)
        T, b, h = conv.size()
        output = self.embedding(conv.reshape(T * b, h))
        return output.view(T, b, -1).log_softmax(2)
